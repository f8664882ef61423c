"""What a person sees in the UI: tables, pictures, panels, progress."""

__all__ = ["markdown", "materialisation_metadata", "pictures", "previews", "progress", "sample_files"]
