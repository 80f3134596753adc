"""How is a loss minimised?"""
