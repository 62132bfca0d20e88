"""OpenAI-compatible routes of pie-core: each launches the program in `inferlets/`, and says it in OpenAI's form."""
