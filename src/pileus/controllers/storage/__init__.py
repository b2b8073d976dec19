"""The storage process over the store's records: copies, snapshots written block by block, collection, checking.

Start reading at ``keeper``.
"""
