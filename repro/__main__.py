import sys

try:
    from repro.cli import main
except KeyboardInterrupt:  # `main` sees to one that comes later
    sys.exit(130)

main()
