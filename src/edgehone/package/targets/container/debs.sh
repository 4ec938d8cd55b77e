#!/bin/sh
# A hook of mmdebstrap: writes what it extracted into the root file system, where the bill of materials is made from.
# status.d/NAME is the package's description, info/NAME.list names its files.
set -eu
mkdir -p "$1/var/lib/dpkg/status.d" "$1/var/lib/dpkg/info"
for deb in "$1"/var/cache/apt/archives/*.deb; do
  name=$(dpkg-deb -f "$deb" Package)
  dpkg-deb -f "$deb" > "$1/var/lib/dpkg/status.d/$name"
  dpkg-deb --fsys-tarfile "$deb" | tar -t > "$1/var/lib/dpkg/info/$name.list"
done
