"""A static site of what an account has published: no server, no script, nothing fetched from elsewhere."""

from .places import Bucket, Folder
from .rendering import is_web
from .static_site import Catalogue, publish_catalogue

__all__ = ["Bucket", "Catalogue", "Folder", "is_web", "publish_catalogue"]
