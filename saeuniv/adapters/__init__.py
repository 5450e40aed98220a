"""What we take from other libraries: models, dictionaries, tokenizers, text."""
