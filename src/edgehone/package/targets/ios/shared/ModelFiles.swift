import CryptoKit
import Foundation

/// A file of the model is missing, or is not the one that was packaged.
public struct DamagedModel: Error {
    public let file: String
}

/// Throws `DamagedModel` unless the files in a folder are those that were packaged. Reads each of them once.
func verify(_ folder: URL) throws {
    for (name, expected) in digests.sorted(by: { $0.key < $1.key }) {
        guard let file = try? FileHandle(forReadingFrom: folder.appendingPathComponent(name)) else {
            throw DamagedModel(file: name)
        }
        defer { try? file.close() }
        var hash = SHA256()
        while let block = try file.read(upToCount: 1 << 20), !block.isEmpty {
            hash.update(data: block)
        }
        guard hash.finalize().map({ String(format: "%02x", $0) }).joined() == expected else {
            throw DamagedModel(file: name)
        }
    }
}
