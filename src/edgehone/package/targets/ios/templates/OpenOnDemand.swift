import Foundation

/// Keeps the model on the device as long as the app runs: the system may remove it when nothing accesses it.
@MainActor private var request: NSBundleResourceRequest?

/// Returns the folder of the model, after the system has downloaded it.
@MainActor
func openModel() async throws -> URL {
    let asked = NSBundleResourceRequest(tags: ["$tag"])
    asked.loadingPriority = NSBundleResourceRequestLoadingPriorityUrgent
    try await asked.beginAccessingResources()
    request = asked
    guard let folder = asked.bundle.url(forResource: "model", withExtension: nil) else {
        throw DamagedModel(file: "model")
    }
    try verify(folder)
    return folder
}
