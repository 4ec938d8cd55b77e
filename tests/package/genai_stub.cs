// Declarations of ONNX Runtime GenAI's C# interface, as its documentation states them, for the compiler only: no package
// of npm or Debian has it.
using System;

namespace Microsoft.ML.OnnxRuntimeGenAI
{
    public class Model : IDisposable
    {
        public Model(string modelPath) {}
        public void Dispose() {}
    }

    public class GeneratorParams : IDisposable
    {
        public GeneratorParams(Model model) {}
        public void SetSearchOption(string searchOption, double value) {}
        public void SetSearchOption(string searchOption, bool value) {}
        public void Dispose() {}
    }

    public class Generator : IDisposable
    {
        public Generator(Model model, GeneratorParams generatorParams) {}
        public bool IsDone() { return true; }
        public void AppendTokens(ReadOnlySpan<int> inputIDs) {}
        public void GenerateNextToken() {}
        public ReadOnlySpan<int> GetSequence(ulong index) { return new int[0]; }
        public void Dispose() {}
    }

    public class Tokenizer : IDisposable
    {
        public Tokenizer(Model model) {}
        public string Decode(ReadOnlySpan<int> sequence) { return ""; }
        public void Dispose() {}
    }
}
