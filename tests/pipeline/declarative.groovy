// Judge Jenkinsfiles, each given as an argument: Groovy 2.4, which Jenkins has, compiles it, and its blocks are compared
// with the grammar of Declarative Pipeline (Jenkins' handbook, Pipeline Syntax). Prints FILE: ok, or what is wrong.

class Block {
    static final STEPS = [sh: String, echo: String, junit: Map, archiveArtifacts: Map]
    static final OPTIONS = [disableConcurrentBuilds: null, timeout: Map, timestamps: null, buildDiscarder: Object]
    static final POST = ['always', 'success', 'failure', 'unstable', 'aborted', 'cleanup', 'changed', 'fixed'].collectEntries { [it, STEPS] }
    static final STAGE = [agent: [label: String], steps: STEPS, post: POST, environment: [:], options: OPTIONS]
    static final PIPELINE = [agent: [label: String], options: OPTIONS, environment: [:], stages: [stage: STAGE], post: POST]
    static final NEEDED = [pipeline: ['agent', 'stages'], stages: ['stage'], stage: ['steps'], steps: [], agent: ['label']]
    static final FIELDS = [timeout: ['time', 'unit'], junit: ['testResults'], archiveArtifacts: ['artifacts']]
    String name
    Map known
    List seen = []

    static void check(String name, Map known, Closure body) {
        def block = new Block(name: name, known: known)
        body.delegate = block
        body.resolveStrategy = Closure.DELEGATE_ONLY
        body.call()
        def missing = NEEDED.getOrDefault(name, []) - block.seen
        if (missing) throw new IllegalArgumentException("$name has no ${missing[0]}")
        if (block.seen.empty) throw new IllegalArgumentException("$name is empty")
    }

    def invokeMethod(String called, Object given) {
        def args = given as List
        if (!known.containsKey(called)) throw new IllegalArgumentException("$called must not stand in $name")
        seen << called
        def wanted = known[called]
        if (wanted instanceof Map) {
            def body = args ? args.last() : null
            if (!(body instanceof Closure)) throw new IllegalArgumentException("$called needs a block")
            if (called == 'stage' && !(args[0] instanceof String && args[0])) throw new IllegalArgumentException('a stage needs a name')
            check(called, wanted, body)
        } else if (wanted == null ? args : args.size() != 1 || !wanted.isInstance(args[0])) {
            throw new IllegalArgumentException("$called is given $args")
        } else if (FIELDS[called]?.any { !args[0].containsKey(it) }) {
            throw new IllegalArgumentException("$called needs ${FIELDS[called]}")
        }
    }

    void setProperty(String variable, Object value) {
        if (name in ['environment']) {
            if (!(value instanceof String)) throw new IllegalArgumentException("$variable is no text")
            seen << variable
        } else if (variable in ['name', 'known', 'seen']) {
            this.metaClass.setProperty(this, variable, value)
        } else {
            throw new IllegalArgumentException("$variable must not be set in $name")
        }
    }
}

boolean good = true
args.each { path ->
    try {
        int pipelines = 0
        def binding = new Binding([pipeline: { Closure body -> pipelines++; Block.check('pipeline', Block.PIPELINE, body) }])
        new GroovyShell(binding).evaluate(new File(path))
        if (pipelines != 1) throw new IllegalArgumentException("$pipelines pipelines")
        println "$path: ok"
    } catch (Throwable error) {
        good = false
        println "$path: ${error.message.readLines().join(' ')}"
    }
}
System.exit(good ? 0 : 1)
