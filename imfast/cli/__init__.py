"""The `imfast` command: `group` is the command, each subcommand is a module, imported when used."""
