"""What a person sees in the UI: tables, pictures, panels, progress."""
