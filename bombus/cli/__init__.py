"""The `bombus` command. One module per verb; nothing heavy is imported before a verb needs it."""
