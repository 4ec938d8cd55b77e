#include "model.h"

#include <algorithm>
#include <cstring>

#include "notify.h"

volatile bool Model::stopped = false;

namespace {
constexpr int batch_size = 512;
std::string last_error;

void keep_errors(ggml_log_level level, const char * text, void *) {
    if (level == GGML_LOG_LEVEL_ERROR) last_error += text;
}

// llama.cpp asks between the operators of its graph, so the watchdog is fed only while it computes.
bool asked_to_stop(void *) {
    notify_alive();
    return Model::stopped;
}

[[noreturn]] void fail(const std::string & what) {
    std::string cause = last_error.substr(0, last_error.find('\n'));
    throw Failure(cause.empty() ? what : what + ": " + cause);
}
}  // namespace

Model::Model(const std::string & path, int threads, int context) {
    llama_log_set(keep_errors, nullptr);
    llama_backend_init();
    llama_model_params loading = llama_model_default_params();
    loading.n_gpu_layers = 0;
    loading.progress_callback = [](float, void *) { return !asked_to_stop(nullptr); };
    model = llama_model_load_from_file(path.c_str(), loading);
    if (!model) fail("cannot load " + path);
    vocab = llama_model_get_vocab(model);
    llama_context_params params = llama_context_default_params();
    int trained = llama_model_n_ctx_train(model);
    params.n_ctx = context ? context : std::min(trained, 4096);
    params.n_batch = std::min<int>(batch_size, params.n_ctx);
    params.n_ubatch = params.n_batch;
    params.n_threads = params.n_threads_batch = threads;
    params.no_perf = true;
    params.abort_callback = asked_to_stop;
    ctx = llama_init_from_model(model, params);
    if (!ctx) fail("cannot open a context of " + std::to_string(params.n_ctx) + " tokens");
    capacity = llama_n_ctx(ctx);
}

Model::~Model() {
    llama_free(ctx);
    llama_model_free(model);
}

int Model::vocabulary() const { return llama_vocab_n_tokens(vocab); }

bool Model::ends(llama_token id) const { return llama_vocab_is_eog(vocab, id); }

std::vector<llama_token> Model::tokenize(const std::string & text) const {
    std::vector<llama_token> ids(text.size() + 8);
    int count = llama_tokenize(vocab, text.data(), text.size(), ids.data(), ids.size(), true, true);
    if (count < 0) fail("the text cannot be tokenized");
    ids.resize(count);
    return ids;
}

std::string Model::piece(llama_token id) const {
    char bytes[512];
    int length = llama_token_to_piece(vocab, id, bytes, sizeof bytes, 0, false);
    return length > 0 ? std::string(bytes, length) : "";
}

void Model::check(const std::vector<llama_token> & ids, int more) const {
    if (ids.empty()) throw Failure("the prompt is empty");
    for (llama_token id : ids)
        if (id < 0 || id >= vocabulary()) throw Failure("token id " + std::to_string(id) + " is outside the vocabulary");
    if ((int) ids.size() + more > capacity)
        throw Failure("the prompt has " + std::to_string(ids.size()) + " tokens; with " + std::to_string(more) +
                      " to generate that is more than the context of " + std::to_string(capacity));
}

void Model::decode(llama_batch batch) {
    if (llama_decode(ctx, batch)) fail(stopped ? "stopped" : "llama.cpp cannot decode");
    notify_alive();
}

void Model::score(const std::vector<llama_token> & ids, const std::function<void(const float *, int)> & take) {
    check(ids, 0);
    llama_memory_clear(llama_get_memory(ctx), false);
    int step = std::min<int>(batch_size, llama_n_batch(ctx));
    llama_batch batch = llama_batch_init(step, 0, 1);
    for (size_t start = 0; start < ids.size(); start += step) {
        batch.n_tokens = std::min<int>(step, ids.size() - start);
        for (int at = 0; at < batch.n_tokens; at++) {
            batch.token[at] = ids[start + at];
            batch.pos[at] = start + at;
            batch.n_seq_id[at] = 1;
            batch.seq_id[at][0] = 0;
            batch.logits[at] = 1;
        }
        decode(batch);
        take(llama_get_logits(ctx), batch.n_tokens);
    }
    llama_batch_free(batch);
}

void Model::generate(const std::vector<llama_token> & ids, int count, const std::function<bool(llama_token)> & take) {
    check(ids, count);
    llama_memory_clear(llama_get_memory(ctx), false);
    std::vector<llama_token> fed = ids;
    int step = llama_n_batch(ctx);
    for (int made = 0; made < count; made++) {
        for (size_t start = 0; start < fed.size(); start += step)
            decode(llama_batch_get_one(fed.data() + start, std::min<int>(step, fed.size() - start)));
        const float * logits = llama_get_logits_ith(ctx, -1);
        llama_token id = std::max_element(logits, logits + vocabulary()) - logits;
        if (!take(id)) return;
        fed = {id};
    }
}
