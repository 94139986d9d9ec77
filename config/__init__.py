"""Settings, manifests, prompts and routes: frozen values read from YAML. Imports nothing of ours."""

from config.code import Code
from config.loader import Catalogue, ConfigurationError, Mistake, check_ready_to_serve, load, prompt_set_digest

__all__ = ["Catalogue", "Code", "ConfigurationError", "Mistake", "check_ready_to_serve", "load", "prompt_set_digest"]
