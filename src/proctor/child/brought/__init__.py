"""A folder on the import path of another Python, in which Proctor alone is found and nothing that lies beside Proctor.

If Proctor is installed, its package lies in ``site-packages`` beside packages that fit this interpreter only; so that
folder cannot be searched by another interpreter. This folder can: its one module, ``proctor``, loads the package.
"""
