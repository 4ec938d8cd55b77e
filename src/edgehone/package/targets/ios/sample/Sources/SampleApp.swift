import SwiftUI

@main
struct SampleApp: App {
    @StateObject private var generation = Generation()
    @Environment(\.scenePhase) private var phase

    var body: some Scene {
        WindowGroup {
            ScrollView {
                Text(generation.text).padding()
            }
            .task { generation.start("Once upon a time") }
            .onChange(of: phase) { _, phase in
                // iOS ends an app that uses the GPU in the background.
                if phase == .background { generation.stop() }
            }
        }
    }
}
