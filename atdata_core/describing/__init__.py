"""Published datasets as search engines, papers and other tools want them described.

Everything is made of one ``DatasetDescription``, which anybody can have: no login is needed.
"""

from .description import DatasetDescription, DescribedShard, describe, describe_all
from .formats import FORMATS
from .schema_org import schema_org

__all__ = ["FORMATS", "DatasetDescription", "DescribedShard", "describe", "describe_all", "schema_org"]
