"""`python -m flows` is the command line of the project folder that it runs in."""

from flows.cli import main

if __name__ == "__main__":
    main()
