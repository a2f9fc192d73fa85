"""The page of ``pytest-llm review --web``: what it shows (`session`), and the server that lets one reader at it."""
