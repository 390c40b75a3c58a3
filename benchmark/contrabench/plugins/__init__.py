"""The home of plug-ins given by path; see `contrabench.contracts.discovery`.

It defines no functions: a plug-in file becomes an attribute of this package, and one that
is called like a function would replace it.
"""

from contrabench.contracts import discovery

__path__.extend(discovery.folders())
