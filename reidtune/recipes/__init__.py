"""Recipes: TOML files with the settings of a run. Shipped ones carry a method's published or fair settings."""

from reidtune.recipes.find import read_recipe, recipe_names, recipe_summary

__all__ = ["read_recipe", "recipe_names", "recipe_summary"]
