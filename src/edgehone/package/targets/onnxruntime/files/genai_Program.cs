// dotnet run --project csharp MODEL: continue the canary's prompt greedily. Exit code 0 if the ids are the proven ones.
// It is written in C# 7, which .NET, Mono and Unity compile.
using System;
using System.IO;
using System.Linq;
using System.Runtime.Serialization;
using System.Runtime.Serialization.Json;
using Microsoft.ML.OnnxRuntimeGenAI;

static class Program
{
    static int Main(string[] args)
    {
        Canary canary;
        var beside = Path.Combine(Path.GetDirectoryName(Path.GetFullPath(args[0])), "canary.json");
        using (var file = File.OpenRead(beside))
            canary = (Canary)new DataContractJsonSerializer(typeof(Canary)).ReadObject(file);
        var length = canary.Prompt.Length + canary.Answer.Length;
        using (var model = new Model(args[0]))
        using (var parameters = new GeneratorParams(model))
        {
            parameters.SetSearchOption("do_sample", false);
            parameters.SetSearchOption("min_length", length);
            parameters.SetSearchOption("max_length", length);
            using (var generator = new Generator(model, parameters))
            using (var tokenizer = new Tokenizer(model))
            {
                generator.AppendTokens(canary.Prompt);
                while (!generator.IsDone()) generator.GenerateNextToken();
                var found = generator.GetSequence(0).ToArray()
                    .Skip(canary.Prompt.Length).Take(canary.Answer.Length).ToArray();
                var equal = found.Zip(canary.Answer, (a, b) => a == b).Count(same => same);
                Console.WriteLine(tokenizer.Decode(found));
                Console.WriteLine($"{equal} of {canary.Answer.Length} ids are the proven ones");
                return equal == canary.Answer.Length ? 0 : 1;
            }
        }
    }
}

[DataContract]
class Canary
{
    [DataMember(Name = "prompt")] public int[] Prompt;
    [DataMember(Name = "answer")] public int[] Answer;
}
