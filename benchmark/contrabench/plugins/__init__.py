"""The home of plug-ins given by path; see `contrabench.plugin_paths`.

It defines no functions: a plug-in file becomes an attribute of this package, and one that
is called like a function would replace it.
"""

from contrabench import plugin_paths

__path__.extend(plugin_paths.folders())
