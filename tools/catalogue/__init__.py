"""Makes the catalogue's tables from data inside installed development packages. See docs/adr/0003-catalogue.md."""
