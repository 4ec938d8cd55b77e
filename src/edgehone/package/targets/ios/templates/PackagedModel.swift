import Foundation

/// The model in this package.
public enum PackagedModel {
    /// The folder with config.json, the weights and the tokenizer, as MLX loads them.
    public static var directory: URL {
        (Bundle.module.resourceURL ?? Bundle.module.bundleURL)
            .appendingPathComponent("model", isDirectory: true)
    }

    /// Throws `DamagedModel` unless the files are those that were packaged.
    public static func verifyFiles() throws {
        try verify(directory)
    }
}
