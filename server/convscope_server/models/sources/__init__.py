"""Model sources that come with the server: `builtin`, `folder`, `timm:NAME`, `torchvision:NAME`.

timm and torchvision know some 1,500 names between them: they list none of them in the catalog, and resolve every
one that is asked for.
"""
