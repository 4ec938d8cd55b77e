// dotnet run --project csharp [MODEL]     in the folder that contains canary/
// Loads the model with ONNX Runtime, runs the canary, and compares the outputs with the proven ones.
// Exit code 0: the outputs are the proven ones. 1: they differ.
// It is written in C# 7, which .NET, Mono and Unity compile.
using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Runtime.InteropServices;
using System.Runtime.Serialization;
using System.Runtime.Serialization.Json;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;

static class Program
{
    static readonly Dictionary<string, TensorElementType> Types = new Dictionary<string, TensorElementType>
    {
        ["float32"] = TensorElementType.Float, ["float64"] = TensorElementType.Double,
        ["float16"] = TensorElementType.Float16, ["bool"] = TensorElementType.Bool,
        ["int8"] = TensorElementType.Int8, ["int16"] = TensorElementType.Int16,
        ["int32"] = TensorElementType.Int32, ["int64"] = TensorElementType.Int64,
        ["uint8"] = TensorElementType.UInt8, ["uint16"] = TensorElementType.UInt16,
        ["uint32"] = TensorElementType.UInt32, ["uint64"] = TensorElementType.UInt64,
    };

    static int Main(string[] args)
    {
        var model = args.Length > 0 ? args[0] : "ort/model.ort";
        Canary canary;
        using (var file = File.OpenRead("canary/canary.json"))
            canary = (Canary)new DataContractJsonSerializer(typeof(Canary)).ReadObject(file);
        var proven = true;
        var pinned = new List<GCHandle>();
        var inputs = canary.Inputs.ToDictionary(one => one.Name, one => Input(one, pinned));
        using (var session = new InferenceSession(model))
        using (var options = new RunOptions())
        using (var answer = session.Run(options, inputs, canary.Outputs.Select(one => one.Name).ToList()))
        {
            for (var at = 0; at < canary.Outputs.Length; at++)
                proven &= Check(canary.Outputs[at], answer[at]);
        }
        foreach (var value in inputs.Values) value.Dispose();
        foreach (var handle in pinned) handle.Free();
        Console.WriteLine($"{model}: {(proven ? "the proven outputs" : "NOT the proven outputs")}");
        return proven ? 0 : 1;
    }

    // The tensor reads the bytes where they are, so they stay pinned until the session has run.
    static OrtValue Input(CanaryTensor one, List<GCHandle> pinned)
    {
        var bytes = File.ReadAllBytes($"canary/{one.File}");
        var handle = GCHandle.Alloc(bytes, GCHandleType.Pinned);
        pinned.Add(handle);
        return OrtValue.CreateTensorValueWithData(
            OrtMemoryInfo.DefaultInstance, Types[one.Type], one.Shape, handle.AddrOfPinnedObject(), bytes.Length);
    }

    static bool Check(CanaryTensor one, OrtValue value)
    {
        var expected = Numbers(one.Type, File.ReadAllBytes($"canary/{one.File}"));
        var same = value.GetTensorTypeAndShape().ElementDataType == Types[one.Type];
        var found = same ? Numbers(one.Type, value.GetTensorMutableRawData().ToArray()) : new double[0];
        var apart = found.Length == expected.Length
            ? Difference(one.Type, expected, found) : double.PositiveInfinity;
        Console.WriteLine($"{one.Name}: differs by {apart:g3} from the proven output (allowed: {one.Allowed})");
        return apart <= one.Allowed;
    }

    static double[] Numbers(string type, byte[] bytes)
    {
        switch (type)
        {
            case "float32": return As(bytes, 4, at => BitConverter.ToSingle(bytes, at));
            case "float64": return As(bytes, 8, at => BitConverter.ToDouble(bytes, at));
            case "float16": return As(bytes, 2, at => HalfToDouble(BitConverter.ToUInt16(bytes, at)));
            case "int8": return As(bytes, 1, at => (sbyte)bytes[at]);
            case "int16": return As(bytes, 2, at => BitConverter.ToInt16(bytes, at));
            case "int32": return As(bytes, 4, at => BitConverter.ToInt32(bytes, at));
            case "int64": return As(bytes, 8, at => BitConverter.ToInt64(bytes, at));
            case "uint16": return As(bytes, 2, at => BitConverter.ToUInt16(bytes, at));
            case "uint32": return As(bytes, 4, at => BitConverter.ToUInt32(bytes, at));
            case "uint64": return As(bytes, 8, at => BitConverter.ToUInt64(bytes, at));
            default: return As(bytes, 1, at => bytes[at]);
        }
    }

    static double[] As(byte[] bytes, int size, Func<int, double> number)
    {
        return Enumerable.Range(0, bytes.Length / size).Select(at => number(at * size)).ToArray();
    }

    static double HalfToDouble(ushort bits)
    {
        int exponent = (bits >> 10) & 31, fraction = bits & 1023;
        double value = exponent == 0 ? fraction * Math.Pow(2, -24)
            : exponent < 31 ? (1024 + fraction) * Math.Pow(2, exponent - 25)
            : fraction == 0 ? double.PositiveInfinity : double.NaN;
        return bits >> 15 == 0 ? value : -value;
    }

    // The largest difference as a share of the largest proven entry; for whole numbers, the share of unequal entries.
    static double Difference(string type, double[] expected, double[] found)
    {
        double apart = 0, largest = 0, unequal = 0;
        for (var at = 0; at < expected.Length; at++)
        {
            double a = expected[at], b = found[at];
            if (!double.IsNaN(a) && !double.IsInfinity(a)) largest = Math.Max(largest, Math.Abs(a));
            if (a.Equals(b)) continue; // also where both are NaN
            unequal++;
            apart = Math.Max(apart, double.IsNaN(a - b) ? double.PositiveInfinity : Math.Abs(a - b));
        }
        if (!type.StartsWith("float")) return unequal / Math.Max(1, expected.Length);
        return largest > 0 ? apart / largest : apart;
    }
}

[DataContract]
class CanaryTensor
{
    [DataMember(Name = "name")] public string Name;
    [DataMember(Name = "type")] public string Type;
    [DataMember(Name = "shape")] public long[] Shape;
    [DataMember(Name = "file")] public string File;
    [DataMember(Name = "allowed")] public double Allowed;
}

[DataContract]
class Canary
{
    [DataMember(Name = "inputs")] public CanaryTensor[] Inputs;
    [DataMember(Name = "outputs")] public CanaryTensor[] Outputs;
}
