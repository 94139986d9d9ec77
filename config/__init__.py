"""Settings, manifests, prompts and routes: frozen values read from YAML. Imports nothing of ours."""

from config.catalogue import Catalogue, model_digest, prompt_set_digest
from config.code import Code
from config.loader import ConfigurationError, Mistake, check_ready_to_serve, load

__all__ = ["Catalogue", "Code", "ConfigurationError", "Mistake", "check_ready_to_serve", "load", "model_digest", "prompt_set_digest"]
