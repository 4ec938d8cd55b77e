"""The target `android`: data packages with a GGUF file, and a Kotlin sample that runs it.

`binary_xml.py`, `aligned_zip.py` and `apk_signature.py` write what the Android SDK's tools would write, so that none of
them is needed: a compiled manifest, an archive whose model lies at a 16 KiB boundary, and signatures v2 and v3.
"""
