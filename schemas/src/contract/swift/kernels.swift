import CoreML

/// One projection: columns in, columns out.
final class Kernel {
    let model: MLModel
    let columns: Int

    init(_ url: URL, columns: Int) throws {
        let configuration = MLModelConfiguration()
        configuration.computeUnits = .cpuAndNeuralEngine
        model = try MLModel(contentsOf: url, configuration: configuration)
        self.columns = columns
    }

    /// Multiplies `tokens` columns of `channels` numbers each, token by token in `x`; the result lies the same way.
    func callAsFunction(_ x: [Float16], channels: Int, tokens: Int, output: String = "y") throws -> [Float16] {
        let shape = [1, NSNumber(value: channels), 1, NSNumber(value: columns)]
        let given = try MLMultiArray(shape: shape, dataType: .float16)
        for channel in 0..<channels {
            for column in 0..<columns {
                let value = column < tokens ? x[column * channels + channel] : 0
                given[channel * columns + column] = NSNumber(value: Float(value))
            }
        }
        let found = try model.prediction(from: try MLDictionaryFeatureProvider(dictionary: ["x": given]))
        let result = found.featureValue(for: output)!.multiArrayValue!
        let rows = result.shape[1].intValue
        var y = [Float16](repeating: 0, count: rows * tokens)
        for row in 0..<rows {
            for token in 0..<tokens { y[token * rows + row] = Float16(result[[0, row, 0, token] as [NSNumber]].floatValue) }
        }
        return y
    }
}

/// RMSNorm of one token, in single precision.
func normalized(_ x: [Float], weight: [Float], epsilon: Float) -> [Float] {
    let mean = x.reduce(0) { $0 + $1 * $1 } / Float(x.count)
    let factor = 1 / (mean + epsilon).squareRoot()
    return zip(x, weight).map { $0 * factor * $1 }
}

/// The MLP of a layer between its kernels: what `down_proj` is given.
func gated(_ gate: [Float], _ up: [Float]) -> [Float] {
    zip(gate, up).map { $0 / (1 + exp(-$0)) * $1 }
}
