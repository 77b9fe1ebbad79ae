"""The user guide: pages, decisions, examples that the tests run, and the generated reference.

`python -m docs` writes docs/reference/ from the code; nothing of the product imports anything from here.
"""
