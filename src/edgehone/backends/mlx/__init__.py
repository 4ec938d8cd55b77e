"""Apple MLX: conversion, quantization and inference."""
