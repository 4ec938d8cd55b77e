// A GGUF model with one context on the CPU: scores ids, and generates greedily.
#pragma once

#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "llama.h"

struct Failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

class Model {
  public:
    // Load a file. `context` 0: the model's own, at most 4096 tokens. Throws Failure with llama.cpp's message.
    Model(const std::string & path, int threads, int context);
    ~Model();
    Model(const Model &) = delete;

    int vocabulary() const;
    int context() const { return capacity; }

    // Return the ids of a text, with BOS if the GGUF asks for it.
    std::vector<llama_token> tokenize(const std::string & text) const;

    // Return the bytes of a token; none for control tokens.
    std::string piece(llama_token id) const;

    // Call `take(logits, rows)` for consecutive positions, from an empty context.
    void score(const std::vector<llama_token> & ids, const std::function<void(const float *, int)> & take);

    // Call `take(id)` for each greedy token until it returns false or `count` are made.
    void generate(const std::vector<llama_token> & ids, int count, const std::function<bool(llama_token)> & take);

    // Return true for a token that ends a text.
    bool ends(llama_token id) const;

    // True: end what is being computed. It may be set by a signal handler.
    static volatile bool stopped;

  private:
    void decode(llama_batch batch);
    void check(const std::vector<llama_token> & ids, int more) const;

    llama_model * model = nullptr;
    llama_context * ctx = nullptr;
    const llama_vocab * vocab = nullptr;
    int capacity = 0;
};
