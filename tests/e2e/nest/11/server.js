import 'reflect-metadata';
import * as common from '@nestjs/common';
import * as core from '@nestjs/core';
import * as microservices from '@nestjs/microservices';
import * as rxjs from 'rxjs';
import { serve } from '../server.js';

await serve({ ...common, ...core, ...microservices, ...rxjs }, JSON.parse(process.argv[2]));
