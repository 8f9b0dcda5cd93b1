// nest-server.js PORT: a NestJS 12 microservice over TCP that answers { cmd: 'echo' } with its data.
import 'reflect-metadata';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern, Transport } from '@nestjs/microservices';

class EchoController {
  echo(data) {
    return data;
  }
}
Controller()(EchoController);
MessagePattern({ cmd: 'echo' })(
  EchoController.prototype,
  'echo',
  Object.getOwnPropertyDescriptor(EchoController.prototype, 'echo'),
);

class EchoModule {}
Module({ controllers: [EchoController] })(EchoModule);

const app = await NestFactory.createMicroservice(EchoModule, {
  transport: Transport.TCP,
  options: { host: '127.0.0.1', port: Number(process.argv[2]) },
  logger: ['error', 'warn'],
});
await app.listen();
console.log('ready');
