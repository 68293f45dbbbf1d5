import CoreML

/// Gives the embedding of a text by its token ids.
final class EmbeddingModel {
    let model: MLModel
    let contextLength: Int

    init(directory: URL, name: String, contextLength: Int) throws {
        let configuration = MLModelConfiguration()
        configuration.computeUnits = .cpuAndNeuralEngine
        model = try MLModel(contentsOf: directory.appendingPathComponent(name), configuration: configuration)
        self.contextLength = contextLength
    }

    /// Takes the tokens of a text, what the tokenizer puts behind it included, and gives a vector of length 1.
    func embed(_ text: [Int32]) throws -> [Float] {
        let tokens = text.prefix(contextLength)
        let length = NSNumber(value: contextLength)
        let ids = try MLMultiArray(shape: [1, length], dataType: .int32)
        let pooling = try MLMultiArray(shape: [1, 1, length], dataType: .float16)
        for index in 0..<contextLength {
            ids[index] = NSNumber(value: index < tokens.count ? tokens[index] : 0)
            pooling[index] = index == tokens.count - 1 ? 1 : 0
        }
        let inputs = try MLDictionaryFeatureProvider(dictionary: ["input_ids": ids, "pooling": pooling])
        let embedding = try model.prediction(from: inputs).featureValue(for: "embedding")!.multiArrayValue!
        return (0..<embedding.count).map { embedding[$0].floatValue }
    }
}
