// dotnet run --project csharp [MODEL]     in the folder that contains canary/
// Loads the model with ONNX Runtime, runs the canary, and compares the outputs with the proven ones.
// Exit code 0: the outputs are the proven ones. 1: they differ.
using System.Numerics;
using System.Runtime.InteropServices;
using System.Text.Json;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;

var types = new Dictionary<string, TensorElementType>
{
    ["float32"] = TensorElementType.Float, ["float64"] = TensorElementType.Double, ["float16"] = TensorElementType.Float16,
    ["bool"] = TensorElementType.Bool, ["int8"] = TensorElementType.Int8, ["int16"] = TensorElementType.Int16,
    ["int32"] = TensorElementType.Int32, ["int64"] = TensorElementType.Int64, ["uint8"] = TensorElementType.UInt8,
    ["uint16"] = TensorElementType.UInt16, ["uint32"] = TensorElementType.UInt32, ["uint64"] = TensorElementType.UInt64,
};
var model = args.Length > 0 ? args[0] : "ort/model.ort";
var options = new JsonSerializerOptions { PropertyNameCaseInsensitive = true };
var canary = JsonSerializer.Deserialize<Canary>(File.ReadAllText("canary/canary.json"), options)!;
using var session = new InferenceSession(model);
using var runOptions = new RunOptions();
var pinned = new List<GCHandle>();
var inputs = canary.Inputs.ToDictionary(one => one.Name, one =>
{
    var bytes = File.ReadAllBytes($"canary/{one.File}");
    var handle = GCHandle.Alloc(bytes, GCHandleType.Pinned);
    pinned.Add(handle);
    return OrtValue.CreateTensorValueWithData(
        OrtMemoryInfo.DefaultInstance, types[one.Type], one.Shape, handle.AddrOfPinnedObject(), bytes.Length);
});
using var answer = session.Run(runOptions, inputs, canary.Outputs.Select(one => one.Name).ToList());
var proven = true;
for (var at = 0; at < canary.Outputs.Length; at++)
{
    var one = canary.Outputs[at];
    var expected = Numbers(one.Type, File.ReadAllBytes($"canary/{one.File}"));
    var same = answer[at].GetTensorTypeAndShape().ElementDataType == types[one.Type];
    var found = same ? Numbers(one.Type, answer[at].GetTensorMutableRawData().ToArray()) : [];
    var apart = found.Length == expected.Length ? Difference(one.Type, expected, found) : double.PositiveInfinity;
    Console.WriteLine($"{one.Name}: differs by {apart:g3} from the proven output (allowed: {one.Allowed})");
    proven &= apart <= one.Allowed;
}
foreach (var value in inputs.Values) value.Dispose();
foreach (var handle in pinned) handle.Free();
Console.WriteLine($"{model}: {(proven ? "the proven outputs" : "NOT the proven outputs")}");
return proven ? 0 : 1;

static double[] Numbers(string type, byte[] bytes) => type switch
{
    "float32" => As<float>(bytes), "float64" => As<double>(bytes), "float16" => As<Half>(bytes),
    "int8" => As<sbyte>(bytes), "int16" => As<short>(bytes), "int32" => As<int>(bytes), "int64" => As<long>(bytes),
    "uint16" => As<ushort>(bytes), "uint32" => As<uint>(bytes), "uint64" => As<ulong>(bytes), _ => As<byte>(bytes),
};

static double[] As<T>(byte[] bytes) where T : unmanaged, INumber<T> =>
    MemoryMarshal.Cast<byte, T>(bytes).ToArray().Select(double.CreateChecked).ToArray();

// The largest difference as a share of the largest proven entry; for whole numbers, the share of unequal entries.
static double Difference(string type, double[] expected, double[] found)
{
    double apart = 0, largest = 0, unequal = 0;
    for (var at = 0; at < expected.Length; at++)
    {
        double a = expected[at], b = found[at];
        if (double.IsFinite(a)) largest = Math.Max(largest, Math.Abs(a));
        if (a.Equals(b)) continue; // also where both are NaN
        unequal++;
        apart = Math.Max(apart, double.IsNaN(a - b) ? double.PositiveInfinity : Math.Abs(a - b));
    }
    if (!type.StartsWith("float")) return unequal / Math.Max(1, expected.Length);
    return largest > 0 ? apart / largest : apart;
}

record CanaryTensor(string Name, string Type, long[] Shape, string File, double Allowed);
record Canary(CanaryTensor[] Inputs, CanaryTensor[] Outputs);
