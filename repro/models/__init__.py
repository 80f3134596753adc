"""What is a student, and what does it compute?"""
