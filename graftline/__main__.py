"""`python -m graftline` is the command line of the project folder that it runs in."""

from graftline.flows.cli import main

if __name__ == "__main__":
    main()
