import CoreML

/// One conversation with a directory of embeddings, chunks and head. `meta.yaml` has the names and sizes.
final class StatefulModel {
    let embeddings: MLModel
    let infer: [MLModel]
    let prefill: [MLModel]
    let head: MLModel
    let state: MLState
    let contextLength: Int
    let parts: Int

    init(directory: URL, embeddings: String, chunks: [String], head: String, contextLength: Int, parts: Int) throws {
        func load(_ name: String, _ function: String? = nil) throws -> MLModel {
            let configuration = MLModelConfiguration()
            configuration.computeUnits = .cpuAndNeuralEngine
            configuration.functionName = function
            return try MLModel(contentsOf: directory.appendingPathComponent(name), configuration: configuration)
        }
        self.embeddings = try load(embeddings)
        infer = try chunks.map { try load($0, "infer") }
        prefill = try chunks.map { try load($0, "prefill") }
        self.head = try load(head)
        state = prefill[0].makeState()
        self.contextLength = contextLength
        self.parts = parts
    }

    /// Takes a full batch, or one token, and gives the hidden states of the last chunk.
    func hiddenStates(_ tokens: [Int32], at position: Int) throws -> MLMultiArray {
        let count = tokens.count
        let ids = try MLMultiArray(shape: [1, NSNumber(value: count)], dataType: .int32)
        let positions = try MLMultiArray(shape: [NSNumber(value: count)], dataType: .int32)
        let current = try MLMultiArray(shape: [1], dataType: .int32)
        let mask = try MLMultiArray(
            shape: [1, 1, NSNumber(value: count), NSNumber(value: contextLength)], dataType: .float16)
        current[0] = NSNumber(value: position)
        for row in 0..<count {
            ids[[0, NSNumber(value: row)]] = NSNumber(value: tokens[row])
            positions[row] = NSNumber(value: position + row)
            for key in 0..<contextLength {
                let hidden = key > position + row
                mask[[0, 0, NSNumber(value: row), NSNumber(value: key)]] = hidden ? -Float.infinity as NSNumber : 0
            }
        }
        let lookup = try MLDictionaryFeatureProvider(dictionary: ["input_ids": ids])
        var hidden = try embeddings.prediction(from: lookup).featureValue(for: "hidden_states")!.multiArrayValue!
        for chunk in count == 1 ? infer : prefill {
            let inputs = try MLDictionaryFeatureProvider(dictionary: [
                "hidden_states": hidden, "position_ids": positions, "causal_mask": mask, "current_pos": current,
            ])
            let outputs = try chunk.prediction(from: inputs, using: state)
            hidden = outputs.featureValue(for: "output_hidden_states")!.multiArrayValue!
        }
        return hidden
    }

    /// Takes one token and gives the logits after it, part by part.
    func logits(after token: Int32, at position: Int) throws -> [MLMultiArray] {
        let inputs = try MLDictionaryFeatureProvider(
            dictionary: ["hidden_states": try hiddenStates([token], at: position)])
        let outputs = try head.prediction(from: inputs)
        return (1...parts).map { outputs.featureValue(for: "logits\($0)")!.multiArrayValue! }
    }
}
