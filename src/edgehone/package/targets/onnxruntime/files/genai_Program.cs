// dotnet run --project csharp MODEL: continue the canary's prompt greedily. Exit code 0 if the ids are the proven ones.
using System.Text.Json;
using Microsoft.ML.OnnxRuntimeGenAI;

var options = new JsonSerializerOptions { PropertyNameCaseInsensitive = true };
var beside = Path.Combine(Path.GetDirectoryName(Path.GetFullPath(args[0]))!, "canary.json");
var canary = JsonSerializer.Deserialize<Canary>(File.ReadAllText(beside), options)!;
using var model = new Model(args[0]);
using var parameters = new GeneratorParams(model);
var length = canary.Prompt.Length + canary.Answer.Length;
parameters.SetSearchOption("do_sample", false);
parameters.SetSearchOption("min_length", length);
parameters.SetSearchOption("max_length", length);
using var generator = new Generator(model, parameters);
generator.AppendTokens(canary.Prompt);
while (!generator.IsDone()) generator.GenerateNextToken();
var found = generator.GetSequence(0).ToArray().Skip(canary.Prompt.Length).Take(canary.Answer.Length);
var equal = found.Zip(canary.Answer).Count(pair => pair.First == pair.Second);
using var tokenizer = new Tokenizer(model);
Console.WriteLine(tokenizer.Decode(found.ToArray()));
Console.WriteLine($"{equal} of {canary.Answer.Length} ids are the proven ones");
return equal == canary.Answer.Length ? 0 : 1;

record Canary(int[] Prompt, int[] Answer);
