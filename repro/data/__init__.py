"""On what is a model trained, and how is it scored?"""
