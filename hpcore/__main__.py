"""`python -m hpcore` is the command `hpcore`."""

from hpcore.cli.start import main

if __name__ == "__main__":
    main()
