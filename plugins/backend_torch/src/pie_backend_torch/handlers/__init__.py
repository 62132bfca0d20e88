"""The five text traits on the torch backend, one handler each."""
