package edgehone.sample

import java.io.File

/** The number of big cores: those whose highest frequency is above the lowest one of all cores, or all if they are equal.
 *
 * A thread on a small core holds up all others at the end of each layer, so threads for them make a model slower.
 */
fun bigCores(root: File = File("/sys/devices/system/cpu")): Int {
    val frequencies = (root.listFiles() ?: emptyArray())
        .filter { it.name.matches(Regex("cpu[0-9]+")) }
        .mapNotNull { core ->
            runCatching { File(core, "cpufreq/cpuinfo_max_freq").readText().trim().toLong() }.getOrNull()
        }
    val slowest = frequencies.minOrNull() ?: return maxOf(1, Runtime.getRuntime().availableProcessors() / 2)
    val big = frequencies.count { it > slowest }
    return if (big == 0) frequencies.size else big
}
