// swift-tools-version: 5.9
import PackageDescription

// The model only: it depends on nothing. The app that runs it depends on mlx-swift-lm (see ../sample).
let package = Package(
    name: "$module",
    platforms: [.iOS(.v17), .macOS(.v14)],
    products: [.library(name: "$module", targets: ["$module"])],
    targets: [
        .target(
            name: "$module",
            resources: [
                .copy("Resources/model"),
                .copy("Resources/bundle"),
                .copy("Resources/PrivacyInfo.xcprivacy"),
            ])
    ]
)
