import sys

try:
    from repro.cli import main
except KeyboardInterrupt:  # Ctrl-C during the imports; `main` handles later ones
    sys.exit(130)

main()
