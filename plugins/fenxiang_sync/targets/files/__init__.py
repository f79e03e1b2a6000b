"""FilesTarget: the changes of each run as files on any storage.

============  ==================================================================================
``target``    `FilesTarget`, `Format`: the declaration
``sender``    what a load task does: rows become files; asked, it reads them back
``feed``      where files, notes and manifests are; a run is published
``line``      `Line`: one row as a file holds it
``ndjson``    lines as JSON
``parquet``   lines as Parquet
``folder``    a folder of a storage, where a file is there whole or not at all
============  ==================================================================================
"""

from fenxiang_sync.targets.files.target import FilesTarget, Format

__all__ = ["FilesTarget", "Format"]
