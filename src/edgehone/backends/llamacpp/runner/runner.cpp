// edgehone-runner: generates text with a GGUF model on machines without Python.
//
// Exit codes: 0 done, 1 failed, 2 wrong arguments, 78 the processor lacks instructions (cpu_check.c).
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <thread>

#include "model.h"
#include "serve.h"

namespace {
const char usage[] =
    "usage: edgehone-runner MODEL.gguf --prompt TEXT [--tokens N]    generate a text\n"
    "       edgehone-runner MODEL.gguf --serve SOCKET [--tokens N]   serve on a Unix socket\n"
    "       edgehone-runner --features                               print what it was built for\n"
    "further options: --threads N (default: all processors), --context N (default: the model's, at most 4096)\n";

// The frames of --pipe are int32 in the machine's byte order. A request is its kind, a number, the count of ids, the
// ids. The answer to SCORE is, for each part, the number of rows and of columns and the logits as float32; to GENERATE
// the ids, as many as the number says.
enum { SCORE = 0, GENERATE = 1 };

bool read_exactly(void * data, size_t bytes) { return fread(data, 1, bytes, stdin) == bytes; }

void write_exactly(const void * data, size_t bytes) {
    if (fwrite(data, 1, bytes, stdout) != bytes) throw Failure("the output was closed");
}

void pipe_requests(Model & model) {
    int32_t head[3];
    while (read_exactly(head, sizeof head)) {
        if (head[2] < 0 || head[2] > model.context()) throw Failure("a request is longer than the context");
        std::vector<llama_token> ids(head[2]);
        if (!read_exactly(ids.data(), ids.size() * sizeof ids[0])) throw Failure("a request was cut off");
        if (head[0] == SCORE)
            model.score(ids, [&](const float * logits, int rows) {
                int32_t shape[2] = {rows, model.vocabulary()};
                write_exactly(shape, sizeof shape);
                write_exactly(logits, sizeof(float) * rows * model.vocabulary());
            });
        else
            model.generate(ids, head[1], [&](llama_token id) {
                int32_t one = id;
                write_exactly(&one, sizeof one);
                return true;
            });
        fflush(stdout);
    }
}

void print_text(Model & model, const std::string & prompt, int tokens) {
    model.generate(model.tokenize(prompt), tokens, [&](llama_token id) {
        if (model.ends(id)) return false;
        std::string piece = model.piece(id);
        write_exactly(piece.data(), piece.size());
        fflush(stdout);
        return true;
    });
    write_exactly("\n", 1);
}

int number(const std::map<std::string, std::string> & options, const char * name, int otherwise) {
    auto found = options.find(name);
    if (found == options.end()) return otherwise;
    char * end;
    long value = strtol(found->second.c_str(), &end, 10);
    if (*end || found->second.empty() || value < 1 || value > 1 << 24) {
        fprintf(stderr, "edgehone-runner: %s is '%s': give a whole number of 1 or more\n", name, found->second.c_str());
        exit(2);
    }
    return value;
}

[[noreturn]] void wrong(const char * what) {
    fprintf(stderr, "edgehone-runner: %s\n%s", what, usage);
    exit(2);
}
}  // namespace

int main(int count, char ** arguments) {
    if (count == 2 && !strcmp(arguments[1], "--features")) return printf("%s: %s\n", MARCH, FEATURES) < 0;
    if (count == 2 && !strcmp(arguments[1], "--help")) return printf("%s", usage) < 0;
    if (count < 3 || arguments[1][0] == '-') wrong("the model, or what to do, is missing");
    std::map<std::string, std::string> options;
    for (int at = 2; at < count; at++) {
        std::string name = arguments[at];
        if (name == "--pipe") options[name] = "";
        else if (name != "--prompt" && name != "--serve" && name != "--tokens" && name != "--threads" && name != "--context")
            wrong(("unknown option " + name).c_str());
        else if (++at == count) wrong((name + " needs a value").c_str());
        else options[name] = arguments[at];
    }
    if (options.count("--prompt") + options.count("--serve") + options.count("--pipe") != 1)
        wrong("give one of --prompt and --serve");
    int threads = number(options, "--threads", std::max(1u, std::thread::hardware_concurrency()));
    int tokens = number(options, "--tokens", 128), context = number(options, "--context", 0);
    try {
        Model model(arguments[1], threads, context);
        if (options.count("--serve")) serve(model, options["--serve"], tokens);
        else if (options.count("--pipe")) pipe_requests(model);
        else print_text(model, options["--prompt"], tokens);
    } catch (const Failure & failure) {
        fprintf(stderr, "edgehone-runner: %s\n", failure.what());
        return 1;
    }
    return 0;
}
