/// The SHA-256 of each file of the model. Written by edgehone.
let digests: [String: String] = [
$digests
]
