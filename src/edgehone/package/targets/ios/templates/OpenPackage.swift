import $module
import Foundation

/// Returns the folder of the model, which is in the app.
func openModel() async throws -> URL {
    try PackagedModel.verifyFiles()
    return PackagedModel.directory
}
