import Foundation
import MLX
import MLXHuggingFace
import MLXLLM
import MLXLMCommon
import Tokenizers

/// Loads the model with mlx-swift-lm and generates a text.
@MainActor
final class Generation: ObservableObject {
    @Published private(set) var text = ""
    private var task: Task<Void, Never>?

    func start(_ prompt: String) {
        task?.cancel()
        task = Task {
            do {
                let session = try await Self.open()
                text = ""
                for try await piece in session.streamResponse(to: prompt) {
                    if Task.isCancelled { return }
                    text += piece
                }
            } catch {
                text = "\(error)"
            }
        }
    }

    func stop() {
        task?.cancel()
    }

    private static func open() async throws -> ChatSession {
        // Buffers that MLX keeps for reuse count as memory of the app.
        Memory.cacheLimit = 16 << 20
        let model = try await loadModelContainer(from: openModel(), using: #huggingFaceTokenizerLoader())
        return ChatSession(model, generateParameters: GenerateParameters(maxTokens: 128, temperature: 0))
    }
}
