"""The commands, a file each.

A command is a module with `COMMAND`, a `fleche.cli.command.Command`; `COMMANDS` in
`fleche.cli.command` names it. It may import everything; what several commands need lies beside this
folder.
"""
